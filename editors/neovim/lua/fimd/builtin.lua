--- The same verbs as ghost.lua, for `ghost = 'builtin'`: Neovim 0.12 asks and draws.
---
--- The core keeps a suggestion's range as it was when it was asked for. Text typed since then would
--- be doubled on accept, so it is taken off here first.

local lsp = require('fimd.lsp')
local text = require('fimd.text')

local api = vim.api

local M = {}

--- Whether the core has a suggestion for the buffer. It is only known by what it has drawn.
---@return boolean
function M.visible()
  local namespace = api.nvim_get_namespaces()['nvim.lsp.inline_completion']
  return namespace ~= nil and #api.nvim_buf_get_extmarks(0, namespace, 0, -1, { limit = 1 }) > 0
end

function M.wants_indent()
  return false
end

---@param part 'all'|'word'|'line'
---@return boolean
function M.apply(part)
  local buf = api.nvim_get_current_buf()
  return vim.lsp.inline_completion.get({
    on_accept = function(item)
      local client = vim.lsp.get_client_by_id(item.client_id)
      local insert = item.insert_text
      if type(insert) ~= 'string' then
        return item
      end
      local position = api.nvim_win_get_cursor(0)
      local row, col = position[1] - 1, position[2]
      local line = api.nvim_get_current_line()
      local from_row, from_col, to_row, to_col = row, col, row, col
      if item.range then
        from_row, from_col, to_row, to_col = item.range:to_extmark()
      end
      if from_row ~= row or to_row ~= row or from_col > col then
        return nil
      end
      local typed = line:sub(from_col + 1, col)
      if not vim.startswith(insert, typed) then
        return nil
      end
      local tail = line:sub(col + 1, math.max(to_col, col))
      local inserted, taken = text.accepted(insert:sub(#typed + 1), tail, part)
      local lines = vim.split(inserted, '\n', { plain = true })
      api.nvim_buf_set_text(buf, row, col, row, col + taken, lines)
      api.nvim_win_set_cursor(0, { row + #lines, (#lines == 1 and col or 0) + #lines[#lines] })
      if client and #typed + #inserted >= #insert then
        lsp.execute(client.id, item.command, buf)
      elseif client then
        lsp.notify(client.id, 'textDocument/didPartiallyAcceptCompletion', {
          item = { insertText = insert, command = item.command },
          acceptedLength = text.utf16_length(typed .. inserted),
        })
      end
      return nil
    end,
  })
end

---@param step integer
---@return boolean
function M.cycle(step)
  vim.lsp.inline_completion.select({ count = step })
  return true
end

---@return boolean
function M.dismiss()
  -- The core has no call for it: `get` drops the suggestion, and we insert nothing.
  return M.visible() and vim.lsp.inline_completion.get({
    on_accept = function() end,
  })
end

---@return boolean
function M.trigger()
  return false -- it asks by itself, 200 ms after the last key
end

return M
