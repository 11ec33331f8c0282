-- How the plugin lives with the rest of the editor: keys, commands, menus, health.

local h = require('harness')

local plugin = { 'plugin' }
-- Something that any model goes on with when the same call is begun again.
local code = [[
def area(width, height):
    return width * height

width = 3
height = 4
print(area(width, height))
]]

local function at_end(e)
  e:input('G$A')
  e:wait('insert mode', 'return vim.api.nvim_get_mode().mode == "i"')
end

return {
  {
    name = 'Tab without a suggestion indents',
    with = plugin,
    files = { ['main.py'] = code },
    options = '{ auto = false }',
    run = function(e)
      at_end(e)
      e:input('<Tab>x')
      e:wait('an indented x', function()
        local line = e:lines()[#e:lines()]
        return line:find('^%s+x$') ~= nil
      end)
      e:input('<M-w><M-e><M-n>y')
      e:wait('insert mode after keys in vain', function()
        return e:lines()[#e:lines()]:find('^%s+xy$') ~= nil
      end)
    end,
  },
  {
    name = 'without auto it suggests when asked',
    with = plugin,
    files = { ['main.py'] = code },
    options = '{ auto = false }',
    run = function(e)
      at_end(e)
      e:type('print(area(')
      e:wait('the text', function()
        return e:lines()[#e:lines()] == 'print(area('
      end)
      h.equal(e:lua('return wire.count("textDocument/inlineCompletion")'), 0, 'requests')
      e:input('<M-\\>')
      h.ghost(e)
    end,
  },
  {
    name = 'a key that is mapped already is left alone',
    with = plugin,
    files = { ['main.py'] = code },
    before = [[vim.keymap.set('i', '<Tab>', 'MINE')]],
    run = function(e)
      at_end(e)
      e:type('print(')
      local ghost = h.ghost(e)
      e:input('<Tab>')
      e:wait_text(code .. 'print(MINE')
      e:input('<BS><BS><BS><BS>')
      e:wait_text(code .. 'print(')
      e:wait('the ghost text again', function()
        return (e:ghost() or {}).text == ghost
      end)
      e:input('<M-l>')
      e:wait_text(code .. 'print(' .. ghost)
      h.check(e:lua([[return require('fimd.keys').taken['<Tab>'] == 'accept']]), 'not noted as taken')
    end,
  },
  {
    name = 'an expression mapping can accept',
    with = plugin,
    files = { ['main.py'] = code },
    options = '{ keys = false }',
    before = [[
      vim.keymap.set('i', '<C-f>', function()
        return require('fimd').accept() and '' or 'NONE'
      end, { expr = true })
      vim.keymap.set('i', '<C-g><C-w>', '<Plug>(fimd-accept-word)')]],
    run = function(e)
      at_end(e)
      e:type('print(')
      local ghost = h.ghost(e)
      e:input('<C-f>')
      e:wait_text(code .. 'print(' .. ghost)
      e:input('<Esc>u')
      e:wait_text(code .. 'print(')
      e:input('a')
      h.ghost(e)
      e:input('<C-g><C-w>')
      e:wait('a word', function()
        return #e:text() > #code + 6 and vim.startswith(code .. 'print(' .. ghost, e:text())
      end)
    end,
  },
  {
    name = 'the popup menu keeps its keys',
    with = plugin,
    files = { ['main.py'] = 'width = 1\nwidest = 2\n' },
    run = function(e)
      at_end(e)
      e:type('print(wid')
      e:input('<C-x><C-n>')
      e:wait('the menu', 'return vim.fn.pumvisible() == 1')
      local selected = e:lines()[3]
      e:settle()
      e:input('<C-y>')
      e:wait('the menu closed', 'return vim.fn.pumvisible() == 0')
      h.equal(e:lines()[3], selected, 'the chosen word')
      e:input('<BS><BS><C-x><C-n>')
      e:wait('the menu', 'return vim.fn.pumvisible() == 1')
      e:input('<Tab>')
      e:wait('a tab, not a suggestion', function()
        return e:lines()[3]:find('print%(wid%a*[ \t]+$') ~= nil
      end)
    end,
  },
  {
    name = ':Fimd',
    with = plugin,
    files = { ['main.py'] = code },
    run = function(e)
      h.equal(
        e:lua([[return vim.fn.getcompletion('Fimd ', 'cmdline')]]),
        {
          'cancel', 'disable', 'doctor', 'document', 'enable', 'explain', 'fix', 'log', 'model',
          'refactor', 'restart', 'review', 'status', 'toggle',
        },
        'subcommands'
      )
      h.equal(e:lua([[return vim.fn.getcompletion('Fimd dis', 'cmdline')]]), { 'disable' }, 'completion')
      h.equal(e:lua([[return vim.fn.getcompletion('Fimd toggle ', 'cmdline')]]), { 'buffer' }, 'scope')

      local status = e:lua([[return vim.fn.execute('Fimd status')]])
      h.check(status:find('fimd: idle') and status:find('model'), 'status: ' .. status)
      h.equal(e:lua([[return require('fimd').statusline()]]), 'fimd', 'statusline')

      e:lua([[vim.cmd('Fimd disable')]])
      h.equal(e:lua([[return require('fimd').statusline()]]), '', 'statusline when off')
      at_end(e)
      e:type('print(')
      e:wait_text(code .. 'print(')
      h.equal(e:lua('return wire.count("textDocument/inlineCompletion")'), 0, 'requests while off')
      e:lua([[wire.status = nil; vim.cmd('Fimd toggle')]])
      e:wait_ready()
      e:type('area(')
      h.ghost(e)

      e:lua([[vim.cmd('Fimd disable buffer')]])
      h.check(e:ghost() == nil, 'ghost text in a disabled buffer')
      local count = e:lua('return wire.count("textDocument/inlineCompletion")')
      e:wait('the closed document', 'return wire.count("textDocument/didClose") > 0')
      e:type('1, 2')
      e:wait_text(code .. 'print(area(1, 2')
      h.equal(e:lua('return wire.count("textDocument/inlineCompletion")'), count, 'requests')
      e:lua([[vim.cmd('Fimd enable buffer')]])
      e:type(')')
      e:wait('the text', function()
        return e:lines()[#e:lines()] == 'print(area(1, 2)'
      end)
      e:wait('a request', ('return wire.count("textDocument/inlineCompletion") > %d'):format(count))

      e:lua([[wire.status = nil; vim.cmd('Fimd restart')]])
      e:wait_ready()
      e:lua([[vim.notify = function(text) _G.said = text end; vim.cmd('Fimd nonsense')]])
      h.check(e:lua('return said'):find('no command "nonsense"'), 'no error')
    end,
  },
  {
    name = 'a buffer that changed while it had no client is followed again',
    with = plugin,
    files = { ['main.py'] = code },
    run = function(e)
      e:lua('vim.cmd("Fimd disable")')
      at_end(e)
      e:type('total = 0\n')
      e:wait_text(code .. 'total = 0\n')
      e:lua('wire.status = nil; vim.cmd("Fimd enable")')
      e:wait_ready()
      -- In steps, so that the daemon's text is wrong if any of them is lost.
      for _, part in ipairs({ 'for width', ' in range(3):\n', '    total += ar' }) do
        e:type(part)
        e:settle()
      end
      local before = e:text()
      local ghost = h.ghost(e)
      h.check(h.last_offer(e).range.start.line == #e:lines() - 1, 'a range in another line')
      e:input('<Tab>')
      e:wait_text(before .. ghost)
    end,
  },
  {
    name = "the core's inline completion draws nothing twice",
    with = plugin,
    files = { ['main.py'] = code },
    before = 'if vim.lsp.inline_completion then vim.lsp.inline_completion.enable() end',
    run = function(e)
      at_end(e)
      e:type('print(')
      local ghost = h.ghost(e)
      vim.wait(400) -- the core would ask after 200 ms
      h.equal(h.ghost(e), ghost, 'ghost text')
      for _, reply in ipairs(e:lua('return wire.replies()')) do
        h.check(reply.params.partialResultToken, 'a request that is not the plugin\'s')
      end
    end,
  },
  {
    name = 'a new colour scheme keeps the look',
    with = plugin,
    files = { ['main.py'] = code },
    run = function(e)
      e:lua('vim.cmd("Fimd toggle | Fimd toggle | colorscheme blue")')
      h.check(next(e:lua('return vim.api.nvim_get_hl(0, { name = "FimdGhost" })')), 'no highlight')
    end,
  },
  {
    name = ':Fimd! restart starts another daemon',
    with = plugin,
    files = { ['main.py'] = code },
    run = function(e)
      local function process()
        local status = vim.system({ vim.env.FIMD_E2E_BIN, 'status' }, { text = true }):wait()
        return status.stdout:match('process (%d+)')
      end
      local before = process()
      e:lua('wire.status = nil; vim.cmd("Fimd! restart")')
      e:wait_ready()
      h.check(process() ~= before, 'the same daemon')
      at_end(e)
      e:type('print(')
      h.ghost(e)
    end,
  },
  {
    name = 'a file type that is off',
    with = plugin,
    files = { ['main.py'] = code, ['notes.txt'] = 'one\n' },
    options = '{ filetypes = { text = false } }',
    run = function(e)
      e:edit('notes.txt')
      at_end(e)
      e:type('two')
      e:wait_text('one\ntwo')
      h.equal(e:lua('return wire.count("textDocument/inlineCompletion")'), 0, 'requests')
      h.equal(e:lua('return require("fimd").is_enabled(0)'), false, 'is_enabled')
    end,
  },
  {
    name = 'two projects, one server',
    with = plugin,
    files = {
      ['main.py'] = code,
      ['inner/.root'] = '',
      ['inner/other.py'] = code,
    },
    run = function(e)
      e:edit('inner/other.py')
      local folders = e:wait('the second folder', [[
        for _, message in ipairs(wire.notified) do
          if message.method == 'workspace/didChangeWorkspaceFolders' then
            return message.params.event.added
          end
        end]])
      h.equal(folders[1].name, 'inner', 'folder')
      h.equal(e:lua('return #vim.lsp.get_clients({ name = "fimd" })'), 1, 'clients')
      at_end(e)
      e:type('print(')
      h.ghost(e)
    end,
  },
  {
    name = ':checkhealth',
    with = plugin,
    files = { ['main.py'] = code },
    run = function(e)
      e:lua([[vim.cmd('checkhealth fimd')]])
      local report = e:wait('the report', function()
        local text = e:text()
        return text:find('fimd: keys') and text
      end)
      h.check(not report:find('ERROR') and not report:find('WARNING'), report)
      h.check(report:find('<Tab>: accept'), report)
    end,
  },
  {
    name = 'a missing program is said once, with what to do',
    with = plugin,
    files = { ['main.py'] = code, ['other.py'] = code },
    open = false,
    before = [[vim.notify = function(text) _G.said = (said or 0) + 1; _G.last = text end]],
    run = function(e)
      e:lua([[require('fimd').setup({ cmd = { '/nonexistent/fimd', 'lsp' } })]])
      e:edit('main.py')
      e:edit('other.py')
      e:wait('the message', 'return said ~= nil')
      h.equal(e:lua('return said'), 1, 'messages')
      h.check(e:lua('return last'):find('install fimd'), e:lua('return last'))
      at_end(e)
      e:type('x')
      e:wait_text(code .. 'x')
      e:lua([[vim.cmd('stopinsert'); vim.cmd('checkhealth fimd')]])
      e:wait('the error in the report', function()
        return e:text():find('ERROR') ~= nil
      end)
    end,
  },
  {
    name = 'options are checked',
    with = plugin,
    open = false,
    run = function(e)
      local function refuse(options, message)
        local ok, err = unpack(e:lua('return { pcall(require("fimd").setup, ' .. options .. ') }'))
        h.check(not ok and err:find(message, 1, true), options .. ': ' .. tostring(err))
      end
      refuse('{ key = {} }', "unknown option 'key'")
      refuse('{ keys = { acept = "x" } }', "unknown option 'keys.acept'")
      refuse('{ delay_ms = "5" }', "option 'delay_ms' must be a number")
      refuse('{ ghost = "other" }', "'fimd' or 'builtin'")
    end,
  },
}
