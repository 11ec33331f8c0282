--- A float for text that comes bit by bit.

local api = vim.api

---@class fimd.Float
---@field buf integer
---@field win integer
---@field fresh boolean the text is only a sign that something is coming
---@field private before integer the window to go back to
local Float = {}
Float.__index = Float

local M = {}

---@param lines integer
---@return table
local function geometry(lines)
  local width = math.max(20, math.min(100, vim.o.columns - 8))
  local most = math.max(1, math.floor((vim.o.lines - vim.o.cmdheight) * 0.7))
  local height = math.max(1, math.min(most, lines))
  return {
    relative = 'editor',
    width = width,
    height = height,
    row = math.max(0, math.floor((vim.o.lines - most) / 2) - 1),
    col = math.floor((vim.o.columns - width) / 2),
  }
end

---@param text string
---@return string
local function in_title(text)
  return ' ' .. vim.fn.strcharpart((text:gsub('%s+', ' ')), 0, 80) .. ' '
end

---@param options { title: string, footer: string, filetype: string, text: string, busy: boolean?, on_close: fun()? }
---@return fimd.Float
function M.open(options)
  local self = setmetatable({ fresh = options.busy or false }, Float)
  self.before = api.nvim_get_current_win()
  self.buf = api.nvim_create_buf(false, true)
  vim.bo[self.buf].bufhidden = 'wipe'
  local config = geometry(1)
  config.style = 'minimal'
  config.border = 'rounded'
  config.title = in_title(options.title)
  config.footer = in_title(options.footer)
  self.win = api.nvim_open_win(self.buf, true, config)
  vim.wo[self.win].wrap = options.filetype ~= 'diff'
  vim.wo[self.win].linebreak = true
  vim.wo[self.win].conceallevel = options.filetype == 'markdown' and 2 or 0
  vim.bo[self.buf].filetype = options.filetype
  self:set(options.text)
  for _, key in ipairs({ 'q', '<Esc>' }) do
    self:map(key, function()
      self:close()
    end, 'Close')
  end
  api.nvim_create_autocmd('BufWipeout', {
    buffer = self.buf,
    once = true,
    callback = function()
      if options.on_close then
        options.on_close()
      end
    end,
  })
  return self
end

---@param key string
---@param action fun()
---@param description string
function Float:map(key, action, description)
  vim.keymap.set('n', key, action, { buffer = self.buf, nowait = true, desc = description })
end

---@return boolean
function Float:is_open()
  return api.nvim_win_is_valid(self.win) and api.nvim_buf_is_valid(self.buf)
end

---@private
---@param action fun()
function Float:change(action)
  if not self:is_open() then
    return
  end
  vim.bo[self.buf].modifiable = true
  action()
  vim.bo[self.buf].modifiable = false
  local height = api.nvim_win_text_height and api.nvim_win_text_height(self.win, {}).all
    or api.nvim_buf_line_count(self.buf)
  local wanted = geometry(height).height
  if wanted ~= api.nvim_win_get_height(self.win) then
    api.nvim_win_set_height(self.win, wanted)
  end
end

---@param text string
function Float:set(text)
  self:change(function()
    local lines = vim.split((text:gsub('\n+$', '')), '\n', { plain = true })
    -- Lines that stay are left alone, so that the view does not jump when the text is complete.
    local old = api.nvim_buf_get_lines(self.buf, 0, -1, false)
    local same = 0
    while same < #lines and same < #old and lines[same + 1] == old[same + 1] do
      same = same + 1
    end
    api.nvim_buf_set_lines(self.buf, same, -1, false, vim.list_slice(lines, same + 1))
  end)
end

function Float:clear()
  self.fresh = true
  self:set('…')
end

---@param text string
function Float:append(text)
  if self.fresh then
    self.fresh = false
    return self:set(text)
  end
  self:change(function()
    local row = api.nvim_buf_line_count(self.buf) - 1
    local last = api.nvim_buf_get_lines(self.buf, row, row + 1, false)[1]
    local lines = vim.split(text, '\n', { plain = true })
    api.nvim_buf_set_text(self.buf, row, #last, row, #last, lines)
  end)
end

--- No more text comes.
function Float:finish()
  self.fresh = false
end

function Float:close()
  if not self:is_open() then
    return
  end
  local had_focus = api.nvim_get_current_win() == self.win
  api.nvim_win_close(self.win, true)
  if had_focus and api.nvim_win_is_valid(self.before) then
    api.nvim_set_current_win(self.before)
  end
end

return M
