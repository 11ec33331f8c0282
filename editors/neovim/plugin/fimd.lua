-- The :Fimd command and the <Plug> mappings; everything else starts with require('fimd').setup{}.
if vim.g.loaded_fimd then
  return
end
vim.g.loaded_fimd = true

if vim.fn.has('nvim-0.10') == 0 then
  vim.api.nvim_err_writeln('fimd needs Neovim 0.10 or later')
  return
end

vim.api.nvim_create_user_command('Fimd', function(options)
  require('fimd.command').run(options)
end, {
  nargs = '+',
  bang = true,
  range = true,
  desc = 'fimd: local code completion',
  complete = function(lead, line)
    return require('fimd.command').complete(lead, line)
  end,
})

require('fimd.keys').plug()
